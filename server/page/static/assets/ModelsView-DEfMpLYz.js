import{a as e,t as i}from"./index-C15F5hzt.js";function t(){return e("main",{class:"page-view",children:e("h1",{children:i.views.models})})}export{t as default};
